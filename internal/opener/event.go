package opener

import (
	"time"

	"dpifd/internal/event"
)

// ModuleLoading says that the module is about to be loaded.
type ModuleLoading struct {
	event.Base
	Module string `event:"module"`
}

var _ = event.Declare[ModuleLoading](event.Kind{Name: "module_loading", Level: event.Info,
	Meaning: "The kernel has no openvswitch families. dpifd tries once to load the module.",
})

// ModuleLoadFailed says that the module could not be loaded.
type ModuleLoadFailed struct {
	event.Base
	Module string `event:"module"`
	Err    error  `event:"error"`
}

var _ = event.Declare[ModuleLoadFailed](event.Kind{Name: "module_load_failed", Level: event.Warn,
	Meaning: "The module could not be loaded. dpifd exits, or waits if wait_for_module is set.",
	Advice: "Load the module (`modprobe openvswitch`) or configure modules-load.d; the service may not load " +
		"modules. `error` says what failed.",
})

// ModuleWaiting says that the daemon waits for the module.
type ModuleWaiting struct {
	event.Base
	Module string        `event:"module"`
	Waited time.Duration `event:"waited_s" means:"time since the wait began"`
}

var _ = event.Declare[ModuleWaiting](event.Kind{Name: "module_waiting", Level: event.Warn,
	Meaning: "dpifd waits until the module is loaded (wait_for_module). Logged at once, then every minute.",
	Advice:  "As for module_load_failed. dpifd continues when the module is loaded.",
})

// DatapathOpened names the datapath that the daemon serves.
type DatapathOpened struct {
	event.OfDatapath
	Index   int32  `event:"dp_index" means:"the kernel's number of the datapath: the index of its local port's device"`
	Created bool   `event:"created"`
	Flows   uint64 `event:"flows"`
	Hit     uint64 `event:"hit"`
	Missed  uint64 `event:"missed"`
	Lost    uint64 `event:"lost"`
}

var _ = event.Declare[DatapathOpened](event.Kind{Name: "datapath_opened", Level: event.Info,
	Meaning: "dpifd opened the datapath, or created it if `created` is true. The counters are the kernel's, since " +
		"the datapath was created.",
})

// DatapathRenamed says that the datapath of the previous daemon has another name.
type DatapathRenamed struct {
	event.OfDatapath
	LocalPort string `event:"local_port" means:"name of the datapath's local port"`
	Index     int32  `event:"dp_index"`
}

var _ = event.Declare[DatapathRenamed](event.Kind{Name: "datapath_renamed", Level: event.Warn,
	Meaning: "No datapath has the configured name. The datapath that the previous daemon served exists, but its " +
		"local port was renamed to `local_port`. dpifd serves it.",
	Advice: "Rename the local port back (`ip link set LOCAL_PORT name DATAPATH`), or set `datapath.name` to the new " +
		"name.",
})

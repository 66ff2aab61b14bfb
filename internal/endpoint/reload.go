package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// Reloaded lists the changes of a reload.
type Reloaded struct {
	Config  string   `json:"config"`  // path of the file
	Changed []string `json:"changed"` // top-level keys
	// Ignored are keys that differ and keep their value until a restart.
	Ignored []string `json:"ignored"`
}

// InForce is the configuration that a daemon uses.
type InForce struct {
	Config string `json:"config"` // path of the file
	YAML   string `json:"yaml"`   // all keys, including defaults
}

// Reload makes the daemon read its configuration file again. The answer comes after policy,
// limits and log are changed; ports are attached and detached later. After an error, which
// contains the reason why the file cannot be used, nothing has changed. GetConfig asks for the
// configuration in force.
var (
	Reload    = control.Endpoint[control.None, Reloaded]{Method: http.MethodPost, Path: "/v1/reload"}
	GetConfig = control.Endpoint[control.None, InForce]{Method: http.MethodGet, Path: "/v1/config"}
)

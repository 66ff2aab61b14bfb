package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// Reloaded tells what a reload changed.
type Reloaded struct {
	Config  string   `json:"config"`  // path of the file
	Changed []string `json:"changed"` // top-level keys
	// Ignored are keys that differ and keep their value until a restart.
	Ignored []string `json:"ignored"`
}

// InForce is the configuration that a daemon goes by.
type InForce struct {
	Config string `json:"config"` // path of the file
	YAML   string `json:"yaml"`   // each key, also those at their default
}

// Reload has the daemon read its configuration file again. The answer comes when
// policy, limits and log are changed; ports are attached and detached after that.
// An error says why the file cannot be used, and that nothing has changed.
// GetConfig asks for the configuration in force.
var (
	Reload    = control.Endpoint[control.None, Reloaded]{Method: http.MethodPost, Path: "/v1/reload"}
	GetConfig = control.Endpoint[control.None, InForce]{Method: http.MethodGet, Path: "/v1/config"}
)

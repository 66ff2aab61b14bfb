package endpoint

import (
	"net/http"

	"dpifd/internal/control"
)

// Level is a level of the log: debug, info, warn or error.
type Level struct {
	Level string `json:"level"`
}

// Change holds the level before and after a change.
type Change struct {
	Before string `json:"before"`
	Level  string `json:"level"`
}

// GetLogLevel asks for the level of the log. SetLogLevel changes it until the next
// reload or start.
var (
	GetLogLevel = control.Endpoint[control.None, Level]{Method: http.MethodGet, Path: "/v1/log-level"}
	SetLogLevel = control.Endpoint[Level, Change]{Method: http.MethodPut, Path: "/v1/log-level"}
)

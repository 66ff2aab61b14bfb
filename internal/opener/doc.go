// Package opener opens the datapath that a daemon serves: it loads the module or waits for it,
// opens or creates the datapath, and finds one whose local port was renamed.
package opener

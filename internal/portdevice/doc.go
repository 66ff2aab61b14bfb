// Package portdevice prepares the network devices of configured ports: it creates those of
// tunnels, gives internal ports their MAC, MTU, addresses and state, says why a device cannot
// be a port, and removes what it created and no port needs any more.
package portdevice

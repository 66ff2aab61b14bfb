// Package portdevice prepares the network devices of configured ports: it creates the devices
// of tunnels, gives internal ports their MAC, MTU, addresses and state, returns the reason why
// a device cannot be a port, and removes devices that it created and that no port needs now.
package portdevice

// Package packages has the test of the Debian package, in a lab VM
// under systemd, after those of the service: make systemd-test.
package packages

// Package packages holds the test of the Debian package, which `make systemd-test` runs in a lab VM
// under systemd after the tests of the service.
package packages

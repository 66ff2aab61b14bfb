// Package packages has the test of the Debian package, in a lab VM of its own
// under systemd: make package-test.
package packages

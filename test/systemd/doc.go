// Package systemd holds the tests of the service under a real systemd, which is process 1 of a lab
// VM (test/vm, flag -systemd). They have the build tags lab and systemd; `make systemd-test` runs
// them.
package systemd

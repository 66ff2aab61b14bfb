//go:build !amd64

package main

// tscKHz is 0: the guest's kernel measures the frequency.
func tscKHz() int { return 0 }

//go:build !lab

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "soak: built without the tag lab; run `make soak`")
	os.Exit(1)
}

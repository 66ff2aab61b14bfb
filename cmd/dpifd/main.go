// Command dpifd services the upcalls of an openvswitch kernel datapath.
package main

import (
	"os"

	"dpifd/internal/command"
)

func main() { os.Exit(command.Execute(os.Args[1:])) }

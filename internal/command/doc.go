// Package command implements the command line of dpifd: commands, flags, help texts and exit
// codes, one file per command. The packages below implement what a command does.
//
// [New] returns the tree of commands for the program and for the manual pages, so each command
// has a Short, a Long and an Example.
package command

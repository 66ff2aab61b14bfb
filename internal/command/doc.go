// Package command is the command line of dpifd: its commands, flags, help
// texts and exit codes, one file a command. What a command does is in the
// packages below.
//
// [New] returns the tree of commands, from which the program runs and the
// manual pages are made; so each command has a Short, a Long and an Example.
package command

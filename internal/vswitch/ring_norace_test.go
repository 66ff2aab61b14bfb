//go:build !race

package vswitch

const ringRace = false

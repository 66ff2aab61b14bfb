//go:build race

package vswitch

const ringRace = true

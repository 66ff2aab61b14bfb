//go:build race

package dpif

const ringRace = true

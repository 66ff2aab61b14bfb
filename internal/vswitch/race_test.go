//go:build race

package dpif_test

const raceEnabled = true

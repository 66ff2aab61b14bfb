//go:build !race

package upcall

const ringRace = false

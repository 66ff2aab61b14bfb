// Package event says what an event is: something that an operator may want to
// know, with a stable name, a level and fields.
//
// The package that emits an event declares it, once, next to the code that emits
// it: a struct that embeds OfDatapath or Base, and a call of Declare with its
// name, level, meaning and advice. Emitting is passing a value of that type to
// the function that the layer above gave. The daemon writes it to the log; the
// packages below know nothing of the log.
//
// The registry of all declarations makes the fields of the log's lines,
// docs/LOGS.md and the list of docs/RUNBOOK.md. It is filled while packages are
// initialised and does not change after that.
//
// Events are read by reflection when they are written. They are for changes of
// state and problems, not for each packet.
package event

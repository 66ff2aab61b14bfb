// Package event defines events: facts for the operator, with a stable name, a level and fields.
//
// The package that emits an event declares it, once, next to the code that emits it: a struct
// that embeds OfDatapath or Base, and a call of Declare with its name, level, meaning and
// advice. To emit an event, the package passes a value of that type to the function that the
// layer above provides. The daemon writes it to the log; packages below the daemon do not log.
//
// The registry of all declarations determines the fields of the log and generates docs/LOGS.md
// and the list of docs/RUNBOOK.md. It is filled while packages are initialised and does not
// change afterwards.
//
// Events are read by reflection when they are written. They are for changes of
// state and problems, not for each packet.
package event

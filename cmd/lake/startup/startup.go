// Package startup has garbage lie until there is much of it. It imports so little that it
// is initialised before the heavy libraries: of the 10 MB that they allocate before main
// begins most stays, and Go would look through it again and again, for a quarter of
// the processors' time of a command that does little.
package startup

import "runtime/debug"

// first is the heap at the first collection. At the next it may be six times what lives, until the
// command has said otherwise: a larger one would let a compaction hold 160 MB more.
const first = 20 << 20

// usual is the heap at the first collection that Go has at 100 percent.
const usual = 4 << 20

var percent = debug.SetGCPercent(100 * first / usual)

// Percent is what GOGC says, 100 where it says nothing.
func Percent() int { return percent }

//go:build !linux

package faults

// The tests that need faults run on Linux.
func crash() {}

func suspend() {}

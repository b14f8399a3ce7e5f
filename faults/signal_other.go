//go:build !unix

package faults

// Where there are no signals there are no faults.
func crash() {}

func suspend() {}

package load

import "errors"

// What a warehouse's errors wrap, so that the command knows its exit code.
var (
	// ErrTargetSchema: the target table has columns that do not fit; a person decides (exit 7).
	ErrTargetSchema = errors.New("the target table does not fit")
	// ErrRejected: the warehouse read the load and refused it for its content (exit 7).
	ErrRejected = errors.New("the warehouse refused the load")
	// ErrDenied: credentials or permissions (exit 78).
	ErrDenied = errors.New("the warehouse denied access")
	// ErrAway: the warehouse is away, busy or over its quota for longer than was waited (exit 5).
	ErrAway = errors.New("the warehouse is away")
	// ErrBusy: another process holds the target (exit 75).
	ErrBusy = errors.New("another process has the target")
	// ErrChanged: somebody else changed what lake had loaded; a person decides (exit 7).
	ErrChanged = errors.New("the target was changed past lake")
)

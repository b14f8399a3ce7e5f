package load

// Verdict is what an audit finds of a partition.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "ok"
	Differs Verdict = "differs"
	// Behind: the table has changed since it was loaded, or was never loaded. That is no
	// difference: lake load mends it.
	Behind Verdict = "not loaded yet"
	// Dropped: the lake has dropped the date, and the target keeps it.
	Dropped Verdict = "dropped in the lake"
)

// Check is one partition of a target beside the table's.
type Check struct {
	Partition    string  `json:"partition"`
	Verdict      Verdict `json:"verdict"`
	TableRows    int64   `json:"table_rows"`
	TargetRows   int64   `json:"target_rows"`
	TableDigest  string  `json:"table_digest"`
	TargetDigest string  `json:"target_digest"`
	Why          string  `json:"why,omitempty"`
}

// Audit compares, partition by partition of a plan, the table's digests with the target's.
func Audit(steps []Step, lake, target map[string]Digest) []Check {
	checks := make([]Check, len(steps))
	for i, s := range steps {
		a, b := lake[s.Name], target[s.Name]
		c := Check{Partition: s.Name, Verdict: Same, TableRows: a.Rows, TargetRows: b.Rows, TableDigest: a.Text(), TargetDigest: b.Text()}
		switch why := a.Differs(b); {
		case why == "":
		case s.State == Kept:
			c.Verdict = Dropped
		case s.State == Due:
			c.Verdict, c.Why = Behind, s.Why
		default:
			c.Verdict, c.Why = Differs, why
		}
		checks[i] = c
	}
	return checks
}

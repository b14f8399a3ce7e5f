package generate

import "fmt"

// Generator makes a spec's rows. One goroutine uses it; others take their own
// and make the same rows.
type Generator struct {
	root *object
	seed uint64
	at   place
}

// NewGenerator makes rows of a seed. start replaces where each time field
// begins, read in the first one's zone where it has none; "" keeps them.
func NewGenerator(spec *Spec, seed int64, start string) (*Generator, error) {
	g := &Generator{root: &spec.root, seed: mix(uint64(seed) + golden), at: place{faker: newFaker()}}
	if start == "" {
		return g, nil
	}
	if len(spec.time) == 0 {
		return nil, fmt.Errorf("generate %s: start is given, and the spec has no time", spec.Name)
	}
	micros, err := parseStart(start, spec.time[0].zone)
	if err != nil {
		return nil, fmt.Errorf("generate %s: start: %w", spec.Name, err)
	}
	g.at.start = &micros
	return g, nil
}

// AppendRow appends a row, counted from 0, as one JSON object without a line feed.
func (g *Generator) AppendRow(dst []byte, row int64) []byte {
	g.at.row = row
	return g.root.append(dst, draw(g.seed, uint64(row)), &g.at)
}

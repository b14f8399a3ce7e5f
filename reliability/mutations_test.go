package reliability

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/faults"
)

// A mutation is a promise of the protocol, broken on purpose in a copy of the
// source. All are in one binary; the environment says which one is on. Nothing
// of it is in the repository's packages, nor in what ships.
type mutation struct {
	name  string
	file  string // of the repository
	edits []edit
	scene scene
	finds string // how the finding begins that shows it
}

// edit replaces a text that must be there once.
type edit struct{ old, new string }

// mutationSwitch is added to each package that a mutation changes.
const mutationSwitch = `package %s

import "os"

func mutated(name string) bool { return os.Getenv("LAKE_MUTATION") == name }
`

func mutations() []mutation {
	return []mutation{
		{
			name: "offsets-before-data", file: "ingest/commit.go",
			edits: []edit{{
				"	records, err := p.Table.Commit(committing, c)\n",
				`	late := c.Files
	if mutated("offsets-before-data") {
		c.Files = nil
	}
	records, err := p.Table.Commit(committing, c)
	if mutated("offsets-before-data") && err == nil {
		err = p.Table.Append(committing, "mutant."+id, 1, late)
	}
`,
			}},
			// The first swap is the takeover's, the second the offsets'; the data's is to come.
			scene: deadAt(faults.Swapped, 2), finds: "lost row",
		},
		{
			name: "publish-before-commit", file: "ingest/commit.go",
			edits: []edit{{
				"	faults.Point(faults.Checkpointed)\n",
				`	if mutated("publish-before-commit") {
		for i, s := range moved {
			if err := s.deliver(ctx, checkpoints[i], nil); err != nil {
				return err
			}
		}
	}
	faults.Point(faults.Checkpointed)
`,
			}},
			scene: deadAt(faults.Checkpointed, 3), finds: "strange answer: changed",
		},
		{
			name: "ignore-the-marker", file: "load/kafka/sink.go",
			edits: []edit{{
				"	if d.Seq <= s.seq {",
				`	if d.Seq <= s.seq && !mutated("ignore-the-marker") {`,
			}},
			scene: deadAt(faults.Delivered, 3), finds: "doubled answer",
		},
		{
			name: "takeover-without-a-snapshot", file: "table/commit.go",
			edits: []edit{{
				"	return appendTransaction(ctx, s, props, c.Files, summary)\n",
				`	first := c.Steps[0]
	if mutated("takeover-without-a-snapshot") && first.Record.Epoch > first.Base.Epoch && first.Base.Ordinal > 0 {
		for _, step := range c.Steps {
			r := step.Record
			r.Version, r.Ordinal, r.Sequence = RecordVersion, step.Base.Ordinal, step.Base.Sequence // or the lineage check would see it
			if err := r.set(props, summary); err != nil {
				return nil, err
			}
		}
		tx := s.ice.NewTransaction()
		if err := tx.AssertRefSnapshotID(icebergtable.MainBranch); err != nil {
			return nil, err
		}
		return tx, tx.SetProperties(props)
	}
	return appendTransaction(ctx, s, props, c.Files, summary)
`,
			}},
			scene: wakesAtTakeover, finds: "epoch went back",
		},
		{
			name: "rebuild-without-the-epoch", file: "table/commit.go",
			edits: []edit{{
				"	default:\n		return fmt.Errorf(\"pipeline %s, shard %s: %w: it is at epoch",
				`	case mutated("rebuild-without-the-epoch"):
		return nil
	default:
		return fmt.Errorf("pipeline %s, shard %s: %w: it is at epoch`,
			}},
			scene: lateOwner, finds: "doubled row",
		},
		{
			name: "cleaner-without-its-mark", file: "table/maintain.go",
			edits: []edit{{
				"		now, err := gcOf(s.ice)\n		return now.ID == g.ID, err\n",
				`		now, err := gcOf(s.ice)
		return now.ID == g.ID || mutated("cleaner-without-its-mark"), err
`,
			}},
			scene: cleanedMeanwhile, finds: "missing file",
		},
	}
}

// mutant builds lake with all mutations in it, off.
func mutant(t *testing.T) string {
	overlay := map[string]string{}
	for _, m := range mutations() {
		text, ok := overlay[m.file]
		if !ok {
			data, err := os.ReadFile(filepath.Join("..", m.file))
			require.NoError(t, err)
			text = string(data)
		}
		for _, e := range m.edits {
			require.Equal(t, 1, strings.Count(text, e.old), "%s does not apply: %s has changed; mend the mutation", m.name, m.file)
			text = strings.Replace(text, e.old, e.new, 1)
		}
		overlay[m.file] = text
		folder := filepath.Dir(m.file)
		overlay[folder+"/mutated.go"] = fmt.Sprintf(mutationSwitch, filepath.Base(folder))
	}
	return build(t, "mutant", overlay)
}

// A protocol that is broken has to be seen by the checker. The same scene with
// the same binary and the mutation off is clean: what was found is the mutation's.
func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	binary := mutant(t)
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			found := play(t, seed, binary, []string{"LAKE_MUTATION=" + m.name}, m.scene)
			require.True(t, found.has(m.finds), "the mutation was not caught; found:\n%s", found)
			t.Logf("caught: %s", found[0])
			if long() {
				calm := play(t, seed, binary, nil, m.scene)
				require.Empty(t, calm, "with the mutation off: %s", calm)
			}
		})
	}
}

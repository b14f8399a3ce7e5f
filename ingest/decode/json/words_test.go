package json

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// TestCopyText compares with stringEnd, on texts that end at each place of a word, and
// with room for them and without.
func TestCopyText(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 11))
	alphabet := []string{"a", "Z", " ", "~", "\x7f", "0", "{", "é", "\\n", "\x00", "\x1f", "\xff", "\x80", "\x9f", `"`}
	copied := 0
	for range 200_000 {
		var b bytes.Buffer
		b.WriteString(strings.Repeat("x", random.IntN(10)))
		i := b.Len()
		usual := random.IntN(4) > 0
		for range random.IntN(30) {
			if usual {
				b.WriteString(alphabet[random.IntN(7)])
			} else {
				b.WriteString(alphabet[random.IntN(len(alphabet))])
			}
		}
		if random.IntN(8) > 0 {
			b.WriteByte('"')
		}
		b.WriteString(strings.Repeat("y", random.IntN(12)))
		s := b.Bytes()[:b.Len():b.Len()]
		dst, at := make([]byte, random.IntN(40)), random.IntN(4)
		n := copyText(dst, at, s, i)
		end, traits := stringEnd(s, i)
		if n < 0 {
			roomy := len(dst) >= at+max(end, i)-i+8 && len(s) >= 8
			require.False(t, end >= 0 && traits == 0 && roomy, "%q from %d", s, i)
			continue
		}
		require.Equal(t, end, i+n, "%q from %d", s, i)
		require.Zero(t, traits, "%q from %d", s, i)
		require.Equal(t, string(s[i:end]), string(dst[at:at+n]), "%q from %d", s, i)
		copied++
	}
	require.Greater(t, copied, 50_000)
}

// TestScanInt compares with a reading by strconv.
func TestScanInt(t *testing.T) {
	random := rand.New(rand.NewPCG(12, 12))
	behind := []string{",", "}", " ", "]", ".5", "e1", "E+2", "x", "\x00", "/", ":", ""}
	for range 200_000 {
		digits := make([]byte, random.IntN(21))
		for i := range digits {
			digits[i] = '0' + byte(random.IntN(10))
		}
		if len(digits) > 0 && random.IntN(10) > 0 {
			digits[0] = '1' + byte(random.IntN(9))
		}
		text := string(digits)
		if random.IntN(4) == 0 {
			text = "-" + text
		}
		next := behind[random.IntN(len(behind))]
		before := strings.Repeat("7", random.IntN(3))
		s := []byte(before + text + next + strings.Repeat("8", random.IntN(2)*random.IntN(12)))
		if next == "" {
			s = []byte(before + text)
		}
		v, end := scanInt(s[:len(s):len(s)], len(before))
		want, err := strconv.ParseInt(text, 10, 64)
		whole := next == "" || !strings.Contains(".eE", next[:1])
		canonical := len(digits) == 1 || len(digits) > 0 && digits[0] != '0'
		if err != nil || !whole || !canonical || len(digits) > 18 {
			require.Negative(t, end, "%q", s)
			continue
		}
		require.Equal(t, len(before)+len(text), end, "%q", s)
		require.Equal(t, want, v, "%q", s)
	}
}

// TestDecoderComparesKeys has keys of all lengths, and others that differ from them in one
// byte, where they are expected.
func TestDecoderComparesKeys(t *testing.T) {
	for n := range 30 {
		name := strings.Repeat("k", n)
		d, err := NewDecoder(schemas.Schema{Fields: []schemas.Field{{Name: name, Type: schemas.Type{Kind: schemas.Int64}}}}, Options{})
		require.NoError(t, err)
		for _, rest := range []string{"1}", `1,"other":"long enough for a word"}`} {
			for at := range n {
				other := name[:at] + "j" + name[at+1:]
				require.NoError(t, d.Append([]byte(`{"`+other+`":`+rest)))
				require.NoError(t, d.Append([]byte(`{"`+name+`":`+rest)))
				require.NoError(t, d.Append([]byte(`{"`+name+`k":`+rest)))
			}
			require.Error(t, d.Append([]byte(`{"`+name+`"-`+rest)))
			require.Error(t, d.Append([]byte(`{"`+name+`":1,"`+name+`":`+rest)))
		}
		batch, err := d.Flush()
		require.NoError(t, err)
		require.EqualValues(t, 6*n, batch.NumRows())
		for row := range 6 * n {
			require.Equal(t, row%3 == 1, batch.Column(0).IsValid(row), "%d letters, row %d", n, row)
		}
		batch.Release()
		d.Release()
	}
}

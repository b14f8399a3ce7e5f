package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The texts that Java reads are compared with lake's answers on the engines
// (agree); these are the places where the two differ.
func TestJavaPattern(t *testing.T) {
	for text, want := range map[string]string{
		`^a.b$`:      `(?:\Aa[^\n]b\z)`,
		`(?m)^a$`:    `(?:(?<![^\n])a(?![^\n]))`,
		`(?i)ks`:     `[Kk\x{212A}][Ss\x{17F}]`,
		`\d+?`:       `(?:[\x{30}-\x{39}])+`,
		`(a|bc){2,}`: `(?:(?:(?:a|bc))){2,}`,
		`a\.\*`:      `a\x{2E}\x{2A}`,
		`(?P<n>x)`:   `(?:x)`,
	} {
		got, err := javaPattern(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

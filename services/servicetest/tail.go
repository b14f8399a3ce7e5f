package servicetest

import "strings"

// What is printed of a server or a process when a test fails: where a test has several,
// what failed must not lie pages above.
const (
	tailLines = 40
	tailBytes = 2000
)

// Tail is the end of what a process said, as whole lines.
func Tail(text string) string {
	text = strings.TrimRight(text, "\n")
	from := len(text)
	for range tailLines {
		line := strings.LastIndexByte(text[:max(0, from-1)], '\n') + 1
		if len(text)-line > tailBytes {
			if from == len(text) { // not even one line has room
				from -= tailBytes
			}
			break
		}
		if from = line; from == 0 {
			return text
		}
	}
	return "…\n" + text[from:]
}

package jobs

import (
	"fmt"
	"strings"
)

// maxValue bounds a value that the environment fills in.
const maxValue = 64 << 10

// piece is a run of an expanded value: text of the file, or of the environment.
type piece struct {
	written int    // byte in the text as written
	text    string // what stands there after expansion
	env     bool   // from the environment: all of it belongs to the one place written
}

// expandError is what is wrong with a ${…}, with its place in the text as written.
type expandError struct {
	offset    int
	msg, hint string
}

// expand replaces ${NAME}, ${NAME:-default}, ${NAME:?message} and $$ in one
// scalar. A dollar before anything else stays (regular expressions end with one).
// The values of variables are never part of an error.
func expand(text string, env func(string) (string, bool)) ([]piece, []expandError) {
	var (
		pieces []piece
		errs   []expandError
		from   int // start of the text not yet in pieces
	)
	plain := func(to int) {
		if to > from {
			pieces = append(pieces, piece{written: from, text: text[from:to]})
		}
	}
	for i := 0; i+1 < len(text); {
		if text[i] != '$' || text[i+1] != '$' && text[i+1] != '{' {
			i++
			continue
		}
		plain(i)
		if text[i+1] == '$' {
			pieces = append(pieces, piece{written: i, text: "$", env: true})
			i += 2
			from = i
			continue
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return pieces, append(errs, expandError{i, "${ without its }", "write ${NAME}, or $$ for a dollar"})
		}
		value, bad := variable(text[i+2:i+end], env)
		if bad != nil {
			bad.offset = i
			errs = append(errs, *bad)
		}
		pieces = append(pieces, piece{written: i, text: value, env: true})
		i += end + 1
		from = i
	}
	plain(len(text))
	return pieces, errs
}

// variable is the value of what stands between ${ and }.
func variable(inside string, env func(string) (string, bool)) (string, *expandError) {
	name, rest, operator := inside, "", byte(0)
	if i := strings.IndexByte(inside, ':'); i >= 0 && i+1 < len(inside) {
		name, operator, rest = inside[:i], inside[i+1], inside[i+2:]
	}
	if !variableName(name) || operator != 0 && operator != '-' && operator != '?' {
		return "", &expandError{msg: fmt.Sprintf("${%s} is not a variable", clip(inside)), hint: "write ${NAME}, ${NAME:-default}, ${NAME:?message}, or $${ for a plain ${"}
	}
	if strings.Contains(rest, "${") {
		return "", &expandError{msg: fmt.Sprintf("${%s}: a default cannot hold another variable", name), hint: "put the other variable behind it, or set " + name}
	}
	value, set := env(name)
	switch {
	case operator == '-' && value == "":
		return rest, nil
	case operator == '?' && value == "":
		if rest == "" {
			rest = "it has to be set"
		}
		return "", &expandError{msg: fmt.Sprintf("${%s} is empty or not set: %s", name, clip(rest)), hint: "set " + name + " in the environment"}
	case !set:
		return "", &expandError{msg: fmt.Sprintf("${%s} is not set", name), hint: fmt.Sprintf("set it, or give a default: ${%s:-default}", name)}
	case len(value) > maxValue:
		return "", &expandError{msg: fmt.Sprintf("the value of ${%s} is longer than %d bytes", name, maxValue)}
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return "", &expandError{msg: fmt.Sprintf("the value of ${%s} has a newline or another control character", name), hint: "give the variable a value of one line"}
		}
	}
	return value, nil
}

func variableName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

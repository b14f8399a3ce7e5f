package rules

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cloudspannerecosystem/memefish"
	"github.com/cloudspannerecosystem/memefish/ast"
	"github.com/cloudspannerecosystem/memefish/token"
)

// What a query may hold; the parser is recursive and has no bounds of its own.
const (
	maxSQL   = 64 << 10
	maxDepth = 50
)

// parse reads a query or, with expression set, a bare expression.
func parse(sql string, expression bool) (query ast.QueryExpr, expr ast.Expr, errs Errors) {
	if len(sql) > maxSQL {
		errs.add(sql, 0, "", fmt.Sprintf("the query has %d bytes, more than %d", len(sql), maxSQL))
		return nil, nil, errs
	}
	if at := invalidAt(sql); at >= 0 {
		errs.add(sql, at, "", "the query is not valid UTF-8")
		return nil, nil, errs
	}
	if errs = scan(sql); len(errs) > 0 {
		return nil, nil, errs
	}
	query, expr, err := parsed(sql, expression)
	if err != nil {
		return nil, nil, Errors{syntaxError(sql, err)}
	}
	return query, expr, nil
}

// understood makes an error of a panic: the parser, and its lexer alone too,
// reads beyond the end of some malformed texts.
func understood(err *error) {
	if r := recover(); r != nil {
		*err = errors.New("the query ends within a token, or is malformed in another way")
	}
}

func parsed(sql string, expression bool) (query ast.QueryExpr, expr ast.Expr, err error) {
	defer understood(&err)
	if expression {
		expr, err = memefish.ParseExpr("", sql)
		return nil, expr, err
	}
	statement, err := memefish.ParseQuery("", sql)
	if err != nil {
		return nil, nil, err
	}
	if statement.Hint != nil {
		return nil, nil, errors.New("a hint before SELECT is not supported")
	}
	return statement.Query, nil, nil
}

func invalidAt(sql string) int {
	for i, r := range sql {
		if r == utf8.RuneError && !strings.HasPrefix(sql[i:], "\uFFFD") {
			return i
		}
	}
	return -1
}

// syntaxError takes the first of the parser's errors: those behind it are mostly its echo.
func syntaxError(sql string, err error) *Error {
	var errs Errors
	at, msg := 0, err.Error()
	var one *memefish.Error
	var many memefish.MultiError
	if errors.As(err, &many) && len(many) > 0 {
		one = many[0]
	} else {
		errors.As(err, &one)
	}
	if one != nil {
		msg = one.Message
		if one.Position != nil {
			at = int(one.Position.Pos)
		}
	}
	errs.add(sql, at, syntaxHint(sql, at), "syntax error: "+msg)
	return errs[0]
}

// clause tells reserved words that stand in the wrong place more often than for a column.
func clause(word string) bool {
	switch word {
	case "SELECT", "FROM", "WHERE", "GROUP", "BY", "HAVING", "ORDER", "LIMIT", "AS", "AND", "OR", "NOT", "IN", "IS", "ON", "BETWEEN", "LIKE",
		"CASE", "WHEN", "THEN", "ELSE", "END", "WITH", "UNION", "JOIN", "INNER", "CROSS", "FULL", "ASC", "DESC", "NULL":
		return true
	}
	return false
}

// syntaxHint knows constructs of GoogleSQL that the parser does not have.
func syntaxHint(sql string, at int) string {
	rest := sql[max(0, min(at, len(sql))):]
	word := strings.ToUpper(rest[:len(rest)-len(strings.TrimLeft(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"))])
	before := strings.ToUpper(strings.TrimRight(sql[:len(sql)-len(rest)], " \t\r\n"))
	switch {
	case strings.TrimSpace(sql) == "":
		return "write SELECT … FROM …"
	case word == "OVER" || word == "QUALIFY" || word == "WINDOW":
		return "window functions are not supported; GROUP BY TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) cuts time into windows"
	case word == "DISTINCT" && strings.HasSuffix(before, "IS NOT"), word == "DISTINCT" && strings.HasSuffix(before, "IS"):
		return "write a = b OR (a IS NULL AND b IS NULL)"
	case strings.HasSuffix(before, "DATETIME") || strings.HasSuffix(before, " TIME"):
		return "write CAST('…' AS DATETIME), or compare the column with a string"
	case strings.HasSuffix(before, "DECIMAL") || strings.HasSuffix(before, "BIGNUMERIC"):
		return "write NUMERIC '…'"
	case word == "FORMAT":
		return "CAST takes no FORMAT here"
	case word == "ANY" || word == "SOME" || word == "ALL":
		return "write the conditions one by one with OR or AND"
	case word == "LEFT" || word == "RIGHT":
		return "use SUBSTR"
	case token.IsKeyword(word) && !clause(word):
		return fmt.Sprintf("%s is a reserved word; a column of that name is written `%s`", word, strings.ToLower(word))
	default:
		return ""
	}
}

// scan reads the tokens alone: what is no token at all, and brackets (CASE is
// one) that are nested too deep for a recursive parser.
func scan(sql string) (errs Errors) {
	lexer := memefish.Lexer{File: &token.File{Buffer: sql}}
	depth := 0
	for {
		if err := next(&lexer); err != nil {
			return Errors{syntaxError(sql, err)}
		}
		switch lexer.Token.Kind {
		case token.TokenEOF:
			return nil
		case "(", "[", "CASE":
			depth++
		case ")", "]", "END":
			depth--
		}
		if depth > maxDepth {
			errs.add(sql, int(lexer.Token.Pos), "", fmt.Sprintf("the query is nested more than %d deep", maxDepth))
			return errs
		}
	}
}

func next(lexer *memefish.Lexer) (err error) {
	defer understood(&err)
	return lexer.NextToken()
}

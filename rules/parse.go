package rules

import (
	"errors"
	"fmt"
	"strings"

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
	if at, msg := tooDeep(sql); msg != "" {
		errs.add(sql, at, "", msg)
		return nil, nil, errs
	}
	var err error
	if expression {
		expr, err = memefish.ParseExpr("", sql)
	} else {
		var statement *ast.QueryStatement
		if statement, err = memefish.ParseQuery("", sql); err == nil {
			query = statement.Query
			if statement.Hint != nil {
				errs.add(sql, int(statement.Hint.Pos()), "leave it out", "hints are not supported")
			}
		}
	}
	if err != nil {
		errs = append(errs, syntaxError(sql, err))
		return nil, nil, errs
	}
	return query, expr, errs
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
	default:
		return ""
	}
}

// tooDeep counts open brackets, and CASE as one, without parsing.
func tooDeep(sql string) (at int, msg string) {
	lexer := memefish.Lexer{File: &token.File{Buffer: sql}}
	depth := 0
	for {
		if err := lexer.NextToken(); err != nil {
			return 0, "" // the parser says it better
		}
		switch lexer.Token.Kind {
		case token.TokenEOF:
			return 0, ""
		case "(", "[", "CASE":
			depth++
		case ")", "]", "END":
			depth--
		}
		if depth > maxDepth {
			return int(lexer.Token.Pos), fmt.Sprintf("the query is nested more than %d deep", maxDepth)
		}
	}
}

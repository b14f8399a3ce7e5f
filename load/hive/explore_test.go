package hive

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestExplore(t *testing.T) {
	s, err := connect(t.Context(), Config{HiveServer: os.Getenv("HS"), Auth: os.Getenv("HSAUTH")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	fmt.Println(s.product, s.dialect)
	data, _ := os.ReadFile(os.Getenv("SQL"))
	for q := range strings.SplitSeq(string(data), ";\n") {
		if strings.TrimSpace(q) == "" {
			continue
		}
		fmt.Println("==", q)
		begin := time.Now()
		rows, err := s.run(t.Context(), queryTime, q, strings.HasPrefix(strings.TrimSpace(q), "S") && !strings.HasPrefix(strings.TrimSpace(q), "SETT ") || strings.HasPrefix(strings.TrimSpace(q), "DESC") || strings.HasPrefix(strings.TrimSpace(q), "EXPL"))
		fmt.Println("--", time.Since(begin).Round(time.Millisecond))
		for _, r := range rows {
			var cells []string
			for _, c := range r {
				if !c.Valid {
					c.String = "NULL"
				}
				cells = append(cells, c.String)
			}
			fmt.Println(strings.Join(cells, " | "))
		}
		if err != nil {
			fmt.Printf("ERR %v  [%+v]\n", err, errors2(err))
		}
	}
}

func errors2(err error) string {
	var e *serverError
	for x := err; x != nil; {
		if s, ok := x.(*serverError); ok {
			e = s
			break
		}
		if j, ok := x.(interface{ Unwrap() []error }); ok {
			x = j.Unwrap()[0]
			continue
		}
		u, ok := x.(interface{ Unwrap() error })
		if !ok {
			break
		}
		x = u.Unwrap()
	}
	if e == nil {
		return ""
	}
	m := e.message
	if len(m) > 400 {
		m = m[:400]
	}
	return fmt.Sprint(e.code, " ", e.state, " ", m)
}

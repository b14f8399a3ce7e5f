package tally

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"

	"lake/rules"
)

func modelAggregate(a rules.Agg, rows []func(string) any) (any, error) {
	var values []any
	for _, get := range rows {
		if a.Arg == nil {
			values = append(values, true)
			continue
		}
		if v, _ := valueOf(a.Arg, get); v != nil {
			values = append(values, v)
		}
	}
	switch a.Func {
	case rules.Count:
		return int64(len(values)), nil
	case rules.CountIf:
		return int64(len(slices.DeleteFunc(values, func(v any) bool { return v != true }))), nil
	case rules.CountDistinct:
		set := map[string]bool{}
		for _, v := range values {
			if f, ok := v.(float64); ok && f == 0 {
				v = 0.0
			}
			set[show(v)] = true
		}
		return int64(len(set)), nil
	}
	if len(values) == 0 {
		return nil, nil
	}
	if a.Func == rules.Min || a.Func == rules.Max {
		best := values[0]
		for _, v := range values[1:] {
			if c := modelCompare(v, best); a.Func == rules.Min && c < 0 || a.Func == rules.Max && c > 0 {
				best = v
			}
		}
		for _, v := range values {
			if f, ok := v.(float64); ok && math.IsNaN(f) {
				return f, nil
			}
		}
		return best, nil
	}
	return modelSum(a, values)
}

func modelSum(a rules.Agg, values []any) (any, error) {
	n := int64(len(values))
	if _, floats := values[0].(float64); floats {
		sum := 0.0
		for _, v := range values {
			sum += v.(float64)
		}
		if a.Func == rules.Avg {
			return sum / float64(n), nil
		}
		return sum, nil
	}
	sum, decimals := new(big.Int), false
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			sum.Add(sum, big.NewInt(v))
		case *big.Int:
			decimals = true
			sum.Add(sum, v)
		}
	}
	switch {
	case decimals && a.Func == rules.Avg:
		text := new(big.Rat).SetFrac(sum, big.NewInt(100*n)).FloatString(9)
		out, _ := new(big.Int).SetString(strings.Replace(text, ".", "", 1), 10)
		return out, nil
	case decimals && len(new(big.Int).Abs(sum).String()) > a.Type.Precision:
		return nil, errors.New("SUM overflows NUMERIC")
	case decimals:
		return sum, nil
	case a.Func == rules.Avg:
		f, _ := new(big.Float).SetInt(sum).Float64()
		return f / float64(n), nil
	case !sum.IsInt64():
		return nil, errors.New("SUM overflows INT64")
	}
	return sum.Int64(), nil
}

func modelCompare(a, b any) int {
	switch a := a.(type) {
	case int64:
		return big.NewInt(a).Cmp(big.NewInt(b.(int64)))
	case float64:
		if a < b.(float64) {
			return -1
		} else if a > b.(float64) {
			return 1
		}
		return 0
	case bool:
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) // false, true
	case string:
		return strings.Compare(a, b.(string))
	case *big.Int:
		return a.Cmp(b.(*big.Int))
	}
	return 0
}

// compareGroups orders by window, date and key.
func compareGroups(a, b *modelGroup) int {
	if c := modelOrder(a.window, b.window); c != 0 {
		return c
	}
	if a.date != b.date {
		return int(a.date - b.date)
	}
	for i := range a.key {
		if c := modelOrder(a.key[i], b.key[i]); c != 0 {
			return c
		}
	}
	return 0
}

// modelOrder puts NULL before NaN before the rest.
func modelOrder(a, b any) int {
	rank := func(v any) int {
		if f, ok := v.(float64); ok && math.IsNaN(f) {
			return 1
		}
		if v == nil {
			return 0
		}
		return 2
	}
	if rank(a) != rank(b) || rank(a) < 2 {
		return rank(a) - rank(b)
	}
	return modelCompare(a, b)
}

func (m *model) dropStats(before int32) {
	maps.DeleteFunc(m.stats, func(date int32, _ DateStats) bool { return date < before })
}

package jobs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time: 500ms, 10s, 1h30m, 24h, 7d.
type Duration struct {
	time.Duration
	Pos Pos // zero where the file does not have it
}

const durationHint = "write a number and a unit: 500ms, 10s, 5m, 24h, 7d"

var durationUnits = []struct {
	name string
	unit time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}}

// parseDuration reads numbers with units, the largest first or in any order.
func parseDuration(text string) (time.Duration, error) {
	var total float64
	rest := text
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			break
		}
		n, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil {
			break
		}
		after := strings.TrimLeft(rest[end:], "abcdefghijklmnopqrstuvwxyz")
		name := rest[end : len(rest)-len(after)]
		found := false
		for _, u := range durationUnits {
			if u.name == name {
				total, found = total+n*float64(u.unit), true
			}
		}
		if !found {
			break
		}
		rest = after
	}
	if text == "0" {
		return 0, nil
	}
	if rest != "" || text == "" {
		return 0, errors.New("not a duration")
	}
	if total >= math.MaxInt64 {
		return 0, errors.New("a longer duration than 292 years")
	}
	return time.Duration(math.Round(total)), nil
}

const sizeHint = "write bytes, or a number and a unit: 512KiB, 64MiB, 2GiB, 10GB"

var sizeUnits = map[string]float64{"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}

func parseSize(text string) (int64, error) {
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '_' })
	if end < 0 {
		end = len(text)
	}
	unit, known := sizeUnits[strings.ToLower(strings.TrimSpace(text[end:]))]
	if !known {
		return 0, errors.New("not a size")
	}
	if unit == 1 {
		return parseInteger(text[:end])
	}
	n, err := strconv.ParseFloat(text[:end], 64)
	if err != nil {
		return 0, errors.New("not a size")
	}
	if n*unit >= math.MaxInt64 {
		return 0, errors.New("too large a size")
	}
	return int64(n * unit), nil
}

// parseInteger reads a decimal number, as 1000000 or 1_000_000.
func parseInteger(text string) (int64, error) {
	digits := text
	if strings.Contains(text, "_") {
		if strings.HasPrefix(text, "_") || strings.HasSuffix(text, "_") || strings.Contains(text, "__") {
			return 0, errors.New("not a whole number")
		}
		digits = strings.ReplaceAll(text, "_", "")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errors.New("too large a number")
	}
	if err != nil || strings.HasPrefix(digits, "+") {
		return 0, errors.New("not a whole number")
	}
	return n, nil
}

const ratioHint = "write a percentage: 1%, or a fraction: 0.01"

// parseRatio reads 1% or 0.01.
func parseRatio(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		f /= 100
	}
	switch {
	case err != nil || math.IsNaN(f):
		return 0, errors.New("not a percentage")
	case f < 0 || f > 1:
		return 0, fmt.Errorf("not between 0%% and 100%%")
	default:
		return f, nil
	}
}

package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lake/schemas"
	"lake/table"
)

// DefaultLayout names a date's folder where nobody says otherwise.
const DefaultLayout = "data_%Y_%m_%d"

// Layout is how the folder of a date is named: strftime codes.
type Layout struct {
	text   string
	layout schemas.Layout
	omits  bool // the date is in the folder's name, as Hive has it, and not in the files
}

// ParseLayout checks a layout against the columns that would be published. A
// segment dt=%Y-%m-%d is Hive's: readers make the column of it, and the files
// leave it out.
func ParseLayout(text string, columns []string) (Layout, error) {
	l := Layout{text: text}
	var err error
	if l.layout, err = schemas.LayoutFor(schemas.Date, text); err != nil {
		return l, err
	}
	if text == "" {
		return l, errors.New("it is empty; hint: " + DefaultLayout + ", or dt=%Y-%m-%d as Hive has it")
	}
	const noon, night = 12 * 3600e6, 23*3600e6 + 59*60e6 + 59e6
	if string(l.layout.Append(nil, noon, nil)) != string(l.layout.Append(nil, night, nil)) {
		return l, fmt.Errorf("%q tells a time of day; a folder has a whole date", text)
	}
	for segment := range strings.SplitSeq(text, "/") {
		name, value, hive := strings.Cut(segment, "=")
		is := func(column string) bool { return strings.EqualFold(column, name) }
		switch {
		case !hive || !slices.ContainsFunc(columns, is):
		case !is(table.DateColumn):
			return l, fmt.Errorf("%q: readers would take the folder's %s for the column; hint: another name than a column's", text, name)
		case value != "%Y-%m-%d" && value != "%F":
			return l, fmt.Errorf("%q: engines read the column %s from the folder's name as a date; hint: %s=%%Y-%%m-%%d", text, name, name)
		default:
			l.omits = true
		}
	}
	for segment := range strings.SplitSeq(l.Folder(0), "/") {
		switch {
		case segment == "" || strings.Trim(segment, segmentLetters) != "" || strings.Trim(segment, ".") == "":
			return l, fmt.Errorf("%q: a folder's name is of letters, digits and _ - . =, with / between two", text)
		case segment[0] == '_' || segment[0] == '.':
			return l, fmt.Errorf("%q: engines do not look into a folder whose name begins with %c", text, segment[0])
		}
	}
	return l, nil
}

const segmentLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.="

// Folder is the folder of a date, in days since 1970, below the target.
func (l Layout) Folder(date int32) string {
	return string(l.layout.Append(nil, int64(date)*24*3600e6, nil))
}

// String is the layout as it is written.
func (l Layout) String() string { return l.text }

// columns are those that the files have.
func (l Layout) columns(schema schemas.Schema) []string {
	names := schema.Names()
	if l.omits {
		names = slices.DeleteFunc(names, func(name string) bool { return strings.EqualFold(name, table.DateColumn) })
	}
	return names
}

// dateText is a date, in days since 1970, as ISO 8601 has it.
func dateText(date int32) string {
	return time.Unix(int64(date)*86400, 0).UTC().Format(time.DateOnly)
}

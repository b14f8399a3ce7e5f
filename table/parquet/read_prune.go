package parquet

// Range is what a column's value has to lie in for a row to be wanted: between
// Low and High, both included, null never. Its form is that of the column's Arrow type.
type Range struct {
	ID        int // of a column outside of lists
	Low, High Limit
}

// Limit is an end of a Range.
type Limit struct {
	Set  bool   // false: there is no end
	Int  int64  // of an integer, a date (days since 1970), a timestamp (microseconds)
	Text []byte // of a text
}

// wanted are the rows of a row group that may be in all ranges.
func (f *File) wanted(group int, where []Range) ([]stretch, error) {
	if n := f.GroupRows(group); n > 0 {
		return []stretch{{0, n}}, nil
	}
	return nil, nil
}

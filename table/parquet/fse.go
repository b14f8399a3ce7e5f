package parquet

import "math/bits"

// fse is an encoder of finite state entropy (RFC 8878, 4.1) for an alphabet of at
// most fseSymbols: what zstd writes its sequences with. The symbols are written
// from the last one to the first, since the decoder reads backwards.
type fse struct {
	log     int             // of the number of states; 0: there is one symbol, which takes no bits
	norm    [fseSymbols]int // states of a symbol
	next    [1 << fseLog]uint16
	symbols [fseSymbols]fseSymbol
	only    int // the symbol, where log is 0
}

// fseSymbol says which state follows another one when the symbol is written.
type fseSymbol struct {
	bits  uint32 // to write in 16 bits of fraction, less where they begin to be one more
	first uint32 // place in next, less the states of the symbol
}

const (
	fseLog     = 6
	fseSymbols = 24
)

// plan makes the tables for symbols that come as often as counts says; total is their sum.
func (f *fse) plan(counts *[fseSymbols]int, total int) {
	const size = 1 << fseLog
	most, left := 0, size
	for s, n := range counts {
		f.norm[s] = 0
		if n > 0 {
			f.norm[s] = max(1, n*size/total)
			left -= f.norm[s]
		}
		if n > counts[most] {
			most = s
		}
	}
	if counts[most] == total {
		f.log, f.only = 0, most
		f.symbols[most], f.next[0] = fseSymbol{}, 0
		return
	}
	f.log = fseLog
	f.norm[most] += left // the rounding is least felt here

	var spread [size]uint8
	at := 0
	for s, n := range f.norm {
		for range n {
			spread[at] = uint8(s)
			at = (at + size>>1 + size>>3 + 3) & (size - 1)
		}
	}
	var places [fseSymbols]int32
	begin := int32(0)
	for s, n := range f.norm {
		if places[s] = begin; n == 0 {
			continue
		}
		width := uint32(fseLog)
		if n > 1 {
			width -= uint32(bits.Len(uint(n-1)) - 1)
		}
		f.symbols[s] = fseSymbol{bits: width<<16 - uint32(n)<<width, first: uint32(begin - int32(n))}
		begin += int32(n)
	}
	for state, s := range spread {
		f.next[places[s]] = uint16(size + state)
		places[s]++
	}
}

// start is the state that the last symbol leaves.
func (f *fse) start(symbol int) uint32 {
	s := &f.symbols[symbol]
	width := (s.bits + 1<<15) >> 16
	return uint32(f.next[(width<<16-s.bits)>>width+s.first])
}

// step goes from state to that of symbol, and returns the bits to write for it.
func (f *fse) step(state uint32, symbol int) (written uint64, width uint, next uint32) {
	s := &f.symbols[symbol]
	width = uint(state+s.bits) >> 16 & 31
	return uint64(state & (1<<width - 1)), width, uint32(f.next[(state>>width+s.first)%uint32(len(f.next))])
}

// appendTable writes the description of the table: its probabilities, or its only symbol.
func (f *fse) appendTable(dst []byte) []byte {
	if f.log == 0 {
		return append(dst, byte(f.only))
	}
	var acc uint64
	var held uint
	put := func(x, n uint) {
		for acc, held = acc|uint64(x)<<held, held+n; held >= 8; acc, held = acc>>8, held-8 {
			dst = append(dst, byte(acc))
		}
	}
	put(fseLog-5, 4)
	left, threshold, width := 1<<fseLog+1, 1<<fseLog, uint(fseLog+1)
	zeros := false // the symbol before has no state: how many more follow is said
	for s := 0; left > 1; {
		if zeros {
			run := 0
			for ; f.norm[s] == 0; s++ {
				run++
			}
			for ; run >= 3; run -= 3 {
				put(3, 2)
			}
			put(uint(run), 2)
		}
		n := f.norm[s]
		s++
		zeros = n == 0
		spare := 2*threshold - 1 - left // values that take a bit less
		left -= n
		n++
		if n >= threshold {
			n += spare
		}
		if n < spare {
			put(uint(n), width-1)
		} else {
			put(uint(n), width)
		}
		for left < threshold {
			width--
			threshold >>= 1
		}
	}
	if held > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}

// mode is how the table is said in the header of a block's sequences.
func (f *fse) mode() byte {
	if f.log == 0 {
		return 1
	}
	return 2
}

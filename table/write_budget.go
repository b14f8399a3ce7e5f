package table

import (
	"cmp"
	"context"
	"slices"
)

// A row group is written early where the encoded pages of all partitions take more than
// easyBytes and easyEach for each of them, so that the memory of a long commit does
// not follow its length. Of thirty dates it then has some 100,000 rows.
const (
	easyBytes = 16 << 20
	easyEach  = 128 << 10
)

func (w *Writer) count() {
	w.held, w.encoded, w.opened = 0, 0, 0
	for _, p := range w.parts {
		w.held += p.held()
		w.encoded += p.encoded()
		if p.file != nil && p.file.out != nil {
			w.opened++
		}
	}
}

// keepBudget brings the memory held below the budget, with some room: first by
// encoding pages before they are full, which costs the files little, then by
// writing the row groups of the partitions that hold the most. Files are
// completed early, the largest first, only where too many are open or the mere
// number of partitions is beyond the budget.
func (w *Writer) keepBudget(ctx context.Context) error {
	if w.held <= w.room && w.opened <= w.maxOpen {
		return nil
	}
	room := w.room * 3 / 4
	order := make([]*partition, 0, len(w.parts))
	for _, p := range w.parts {
		if p.writer != nil {
			order = append(order, p)
		}
	}
	relieve := func(how func(*partition) error) error {
		slices.SortStableFunc(order, func(a, b *partition) int { return cmp.Compare(b.held(), a.held()) })
		for _, p := range order {
			if w.held <= room {
				return nil
			}
			p.file.ctx = ctx
			before := p.held()
			if err := how(p); err != nil {
				return err
			}
			w.held += p.held() - before
		}
		return nil
	}
	if err := relieve(func(p *partition) error { return p.writer.EndPages() }); err != nil {
		return err
	}
	if err := relieve(func(p *partition) error { return p.writer.FlushRowGroup() }); err != nil {
		return err
	}
	w.count()
	slices.SortStableFunc(order, func(a, b *partition) int { return cmp.Compare(b.size(), a.size()) })
	for _, p := range order {
		if w.opened <= w.maxOpen && w.held <= room {
			break
		}
		if p.file.out == nil {
			continue
		}
		if err := w.complete(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// ease writes row groups, the largest first, where the encoded pages are more than
// they need be. It begins no more files than may be open.
func (w *Writer) ease(ctx context.Context) error {
	limit := easyBytes + easyEach*int64(len(w.parts))
	if !w.easy || w.encoded <= limit {
		return nil
	}
	order := slices.DeleteFunc(slices.Clone(w.parts), func(p *partition) bool { return p.encoded() < easyEach })
	slices.SortStableFunc(order, func(a, b *partition) int { return cmp.Compare(b.encoded(), a.encoded()) })
	for _, p := range order {
		if w.encoded <= limit*3/4 {
			break
		}
		begun := p.file.out != nil
		if !begun && w.opened >= w.maxOpen {
			continue
		}
		p.file.ctx = ctx
		held, encoded := p.held(), p.encoded()
		if err := p.writer.FlushRowGroup(); err != nil {
			return err
		}
		w.held, w.encoded = w.held+p.held()-held, w.encoded+p.encoded()-encoded
		if !begun {
			w.opened++
		}
	}
	return nil
}

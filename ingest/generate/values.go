package generate

import (
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/brianvoe/gofakeit/v7"
	"github.com/go-json-experiment/json/jsontext"

	"lake/schemas"
)

// place is where a value is made: the row, and a key of (seed, row, path).
type place struct {
	row   int64
	start *int64 // µs since 1970 in place of every time's own start; nil keeps them
	faker *faker
}

// value appends one value as JSON. The key is the value's own.
type value interface {
	append(dst []byte, key uint64, at *place) []byte
}

// field is a member of an object.
type field struct {
	name    string
	prefix  []byte // "name":
	salt    uint64
	nulls   uint64 // share
	missing uint64
	value   value
}

func newField(name string) field {
	salt := uint64(14695981039346656037) // FNV-1a: a field's values do not depend on the others
	for _, b := range []byte(name) {
		salt = (salt ^ uint64(b)) * 1099511628211
	}
	return field{name: name, prefix: append(quote(name), ':'), salt: salt}
}

type object struct{ fields []field }

func (o *object) append(dst []byte, key uint64, at *place) []byte {
	dst = append(dst, '{')
	first := true
	for i := range o.fields {
		f := &o.fields[i]
		own := mix(key ^ f.salt)
		if f.missing > 0 && draw(own, 1) < f.missing {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.prefix...)
		dst = f.appendValue(dst, own, at)
	}
	return append(dst, '}')
}

func (f *field) appendValue(dst []byte, key uint64, at *place) []byte {
	if f.nulls > 0 && draw(key, 2) < f.nulls {
		return append(dst, "null"...)
	}
	return f.value.append(dst, draw(key, 0), at)
}

type list struct {
	of       field
	min, max int64
}

func (l *list) append(dst []byte, key uint64, at *place) []byte {
	dst = append(dst, '[')
	for i := range between(draw(key, 0), l.min, l.max) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = l.of.appendValue(dst, draw(key, uint64(i)+1), at)
	}
	return append(dst, ']')
}

// dictionary is an object with some of its keys.
type dictionary struct {
	keys     [][]byte // "key":
	of       field
	min, max int64
}

func (d *dictionary) append(dst []byte, key uint64, at *place) []byte {
	dst = append(dst, '{')
	left := between(draw(key, 0), d.min, d.max)
	first := true
	for i, k := range d.keys { // each set of that size is as likely as any other
		if below(draw(key, uint64(2*i+1)), uint64(len(d.keys)-i)) >= uint64(left) {
			continue
		}
		left--
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, k...)
		dst = d.of.appendValue(dst, draw(key, uint64(2*i+2)), at)
	}
	return append(dst, '}')
}

type uniform struct{ min, max int64 }

func (u *uniform) append(dst []byte, key uint64, _ *place) []byte {
	return strconv.AppendInt(dst, between(key, u.min, u.max), 10)
}

type zipf struct {
	start int64
	ranks *sampler
}

func (z *zipf) append(dst []byte, key uint64, _ *place) []byte {
	return strconv.AppendInt(dst, z.start+int64(z.ranks.pick(key)), 10)
}

type sequence struct{ start, step int64 }

func (s *sequence) append(dst []byte, _ uint64, at *place) []byte {
	return strconv.AppendInt(dst, s.start+at.row*s.step, 10)
}

// choice is one of several JSON texts.
type choice struct {
	texts [][]byte
	by    *sampler
}

func (c *choice) append(dst []byte, key uint64, _ *place) []byte {
	return append(dst, c.texts[c.by.pick(key)]...)
}

type constant struct{ text []byte }

func (c *constant) append(dst []byte, _ uint64, _ *place) []byte { return append(dst, c.text...) }

type boolean struct{ share uint64 }

func (b *boolean) append(dst []byte, key uint64, _ *place) []byte {
	return strconv.AppendBool(dst, key < b.share)
}

// decimal is a number of whole units of 10^-scale.
type decimal struct {
	min, max int64
	scale    int
	text     bool
}

func (d *decimal) append(dst []byte, key uint64, _ *place) []byte {
	if d.text {
		dst = append(dst, '"')
	}
	dst = appendDecimal(dst, between(key, d.min, d.max), d.scale)
	if d.text {
		dst = append(dst, '"')
	}
	return dst
}

// appendDecimal appends units·10^-scale with all its digits.
func appendDecimal(dst []byte, units int64, scale int) []byte {
	if scale == 0 {
		return strconv.AppendInt(dst, units, 10)
	}
	magnitude := uint64(units)
	if units < 0 {
		dst = append(dst, '-')
		magnitude = -magnitude
	}
	one := uint64(1)
	for range scale {
		one *= 10
	}
	dst = strconv.AppendUint(dst, magnitude/one, 10)
	dst = append(dst, '.')
	for part := magnitude % one; one > 1; {
		one /= 10
		dst = append(dst, byte('0'+part/one))
		part %= one
	}
	return dst
}

type bell struct {
	mean, sd, min, max float64 // in units of 10^-scale
	scale              int
}

func (b *bell) append(dst []byte, key uint64, _ *place) []byte {
	x := b.mean + float64(b.sd*normal(key))
	return appendDecimal(dst, int64(math.Floor(min(max(x, b.min), b.max)+0.5)), b.scale)
}

type uuid struct{}

func (uuid) append(dst []byte, key uint64, _ *place) []byte {
	const hex = "0123456789abcdef"
	words := [2]uint64{draw(key, 0)&^0xf000 | 0x4000, draw(key, 1)&^(3<<62) | 2<<62}
	dst = append(dst, '"')
	for i := range 32 {
		switch i {
		case 8, 12, 16, 20:
			dst = append(dst, '-')
		}
		dst = append(dst, hex[words[i/16]>>(60-4*(i%16))&15])
	}
	return append(dst, '"')
}

// text is a pattern: # a digit, ? a small letter, ^ a capital, * a hexadecimal
// digit, \ before one of them the character itself.
type text struct {
	runes  []byte // of one byte each, or parts of longer ones
	chosen []bool // runes[i] stands for a class
}

func (p *text) append(dst []byte, key uint64, _ *place) []byte {
	dst = append(dst, '"')
	for i, c := range p.runes {
		if p.chosen[i] {
			u := draw(key, uint64(i))
			switch c {
			case '#':
				c = byte('0' + below(u, 10))
			case '?':
				c = byte('a' + below(u, 26))
			case '^':
				c = byte('A' + below(u, 26))
			case '*':
				c = "0123456789abcdef"[below(u, 16)]
			}
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// eventTime is start + row/rate + jitter.
type eventTime struct {
	layout   schemas.Layout
	zone     *time.Location
	epoch    int64 // µs a unit; 0 writes text
	start    int64 // µs since 1970
	rows     int64 // in each period
	period   int64 // µs
	disorder int64 // µs
}

func (e *eventTime) append(dst []byte, key uint64, at *place) []byte {
	t := e.start
	if at.start != nil {
		t = *at.start
	}
	high, low := bits.Mul64(uint64(at.row%e.rows), uint64(e.period))
	part, _ := bits.Div64(high, low, uint64(e.rows))
	t += at.row/e.rows*e.period + int64(part)
	if e.disorder > 0 {
		t += between(key, 0, e.disorder-1)
	}
	if e.epoch > 0 {
		return strconv.AppendInt(dst, floorDiv(t, e.epoch), 10)
	}
	dst = append(dst, '"')
	dst = e.layout.Append(dst, t, e.zone)
	return append(dst, '"')
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// faker makes names and addresses. It is its own source of numbers.
type faker struct {
	key, n uint64
	fake   *gofakeit.Faker
}

func newFaker() *faker {
	f := &faker{}
	f.fake = gofakeit.NewFaker(f, false)
	return f
}

// Uint64 is the next number of the present value.
func (f *faker) Uint64() uint64 {
	f.n++
	return draw(f.key, f.n)
}

type fake struct {
	make func(*gofakeit.Faker) string
}

func (v *fake) append(dst []byte, key uint64, at *place) []byte {
	at.faker.key, at.faker.n = key, 0
	quoted, err := jsontext.AppendQuote(dst, v.make(at.faker.fake))
	if err != nil { // only invalid UTF-8, which the library's words are not
		return append(dst, `""`...)
	}
	return quoted
}

// fakes are the kinds of fake values. Left out is what depends on today's date:
// gofakeit's user agents, dates and card expiries.
var fakes = map[string]func(*gofakeit.Faker) string{
	"address":      func(f *gofakeit.Faker) string { return f.Address().Address },
	"city":         (*gofakeit.Faker).City,
	"color":        (*gofakeit.Faker).Color,
	"company":      (*gofakeit.Faker).Company,
	"country":      (*gofakeit.Faker).Country,
	"country_code": (*gofakeit.Faker).CountryAbr,
	"currency":     (*gofakeit.Faker).CurrencyShort,
	"domain":       (*gofakeit.Faker).DomainName,
	"email":        (*gofakeit.Faker).Email,
	"first_name":   (*gofakeit.Faker).FirstName,
	"http_method":  (*gofakeit.Faker).HTTPMethod,
	"ipv4":         (*gofakeit.Faker).IPv4Address,
	"ipv6":         (*gofakeit.Faker).IPv6Address,
	"job":          (*gofakeit.Faker).JobTitle,
	"language":     (*gofakeit.Faker).LanguageAbbreviation,
	"last_name":    (*gofakeit.Faker).LastName,
	"mac":          (*gofakeit.Faker).MacAddress,
	"name":         (*gofakeit.Faker).Name,
	"phone":        (*gofakeit.Faker).Phone,
	"product":      (*gofakeit.Faker).ProductName,
	"sentence":     func(f *gofakeit.Faker) string { return f.Sentence() },
	"state":        (*gofakeit.Faker).State,
	"street":       (*gofakeit.Faker).Street,
	"timezone":     (*gofakeit.Faker).TimeZoneRegion,
	"url":          (*gofakeit.Faker).URL,
	"username":     (*gofakeit.Faker).Username,
	"word":         (*gofakeit.Faker).Noun,
	"zip":          (*gofakeit.Faker).Zip,
}

package json

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// flatSchema is that of the portal's events.
func flatSchema() schemas.Schema {
	return schemas.Schema{Fields: []schemas.Field{
		{Name: "user_id", Type: schemas.Type{Kind: schemas.Int64}, Required: true},
		{Name: "property_id", Type: schemas.Type{Kind: schemas.Int64}},
		{Name: "date", Type: schemas.Type{Kind: schemas.Timestamp}, Required: true, Format: "%Y-%m-%d %H:%M:%S", Zone: "Asia/Kolkata"},
		{Name: "event", Type: schemas.Type{Kind: schemas.String}},
	}}
}

func flatRecords(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 1))
	records := make([][]byte, n)
	for i := range records {
		records[i] = fmt.Appendf(nil, `{"user_id":%d,"property_id":%d,"date":"2021-11-%02d %02d:%02d:%02d","event":"%s"}`,
			random.IntN(1_000_000), random.IntN(50_000), 1+random.IntN(30), random.IntN(24), random.IntN(60), random.IntN(60),
			[]string{"Interaction", "View", "Shortlist"}[random.IntN(3)])
	}
	return records
}

const retailSchema = `struct<event_id: uuid!, ts: timestamp!, user: struct<id: int64!, country: string, plan: string>,
	page: struct<url: string, referrer: string, ms: int32>, session_id: string, device: struct<os: string, browser: string, screen: list<int32>>,
	items: list<struct<sku: string, price: decimal(10,2), qty: int32, title: string>>, tags: list<string>, props: map<string, string>,
	gps: struct<lat: float64, lon: float64>, member: bool>`

func retailRecords(n int) [][]byte {
	random := rand.New(rand.NewPCG(2, 2))
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	records := make([][]byte, n)
	for i := range records {
		var b []byte
		b = fmt.Appendf(b, `{"event_id":"%08x-%04x-4%03x-a%03x-%012x","ts":"2026-03-%02dT%02d:%02d:%02d.%03dZ",`, random.Uint32(), random.IntN(1<<16),
			random.IntN(1<<12), random.IntN(1<<12), random.Int64N(1<<48), 1+random.IntN(28), random.IntN(24), random.IntN(60), random.IntN(60), random.IntN(1000))
		b = fmt.Appendf(b, `"user":{"id":%d,"country":"%s","plan":"%s"},`, random.IntN(1e6), pick("IN", "DE", "US"), pick("free", "plus"))
		b = fmt.Appendf(b, `"page":{"url":"https://shop.example/p/%d/%s","referrer":"https://search.example/?q=%d","ms":%d},`,
			random.IntN(1e5), pick("wooden-chair", "café-table", "lamp"), random.IntN(1e5), random.IntN(5000))
		b = fmt.Appendf(b, `"session_id":"s-%x","device":{"os":"%s","browser":"%s","screen":[%d,%d]},"items":[`, random.Uint64(),
			pick("android", "ios", "windows"), pick("Firefox 140", "Chrome 150"), 360+random.IntN(2000), 640+random.IntN(1000))
		for j := range 2 + random.IntN(3) {
			if j > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"sku":"SKU-%06d","price":%d.%02d,"qty":%d,"title":"%s"}`, random.IntN(1e6), random.IntN(1000), random.IntN(100),
				1+random.IntN(5), pick("Chair, oak, set of two", "Desk lamp \\\"Nord\\\"", "Rug 120x180 cm"))
		}
		b = fmt.Appendf(b, `],"tags":["%s","%s"],"props":{"campaign":"%s","variant":"%s","utm":"%x"},"gps":{"lat":%.6f,"lon":%.6f},"member":%t}`,
			pick("sale", "new"), pick("home", "garden"), pick("spring", "none"), pick("A", "B"), random.Uint32(),
			random.Float64()*90, random.Float64()*180, random.IntN(2) == 0)
		records[i] = b
	}
	return records
}

func parseSchema(t testing.TB, text string) schemas.Schema {
	t.Helper()
	typ, err := schemas.ParseType(strings.Join(strings.Fields(text), " "))
	require.NoError(t, err)
	return schemas.Schema{Fields: typ.Fields}
}

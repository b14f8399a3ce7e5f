package gs

import (
	"context"
	"net/http"
	"os"
	"strings"
	"time"

	gcs "cloud.google.com/go/storage"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
)

// headerTime is how long a server that has a request may take to begin its answer.
const headerTime = 30 * time.Second

// newClient speaks JSON over HTTP, for reads, too: one way for all, that proxies
// and emulators know. The second result closes its idle connections.
func newClient(ctx context.Context, c Config) (*gcs.Client, func(), error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = headerTime
	base.MaxIdleConnsPerHost = 64
	base.WriteBufferSize = 64 << 10 // 4 KiB cut an upload into writes that wake the server twice as often
	transport := http.RoundTripper(base)
	if !c.Anonymous && (c.Endpoint != "" || os.Getenv("STORAGE_EMULATOR_HOST") == "") {
		var err error
		if transport, err = htransport.NewTransport(ctx, base, option.WithScopes(gcs.ScopeReadWrite)); err != nil {
			return nil, nil, err
		}
	}
	options := []option.ClientOption{gcs.WithJSONReads(), gcs.WithDisabledClientMetrics(), option.WithHTTPClient(&http.Client{Transport: transport})}
	if c.Endpoint != "" {
		options = append(options, option.WithEndpoint(strings.TrimRight(c.Endpoint, "/")+"/storage/v1/"))
	}
	client, err := gcs.NewClient(ctx, options...)
	if err != nil {
		return nil, nil, err
	}
	return client, base.CloseIdleConnections, nil
}

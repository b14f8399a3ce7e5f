package gs

import (
	"context"

	gcs "cloud.google.com/go/storage"
	"google.golang.org/api/option"
)

// newClient speaks JSON over HTTP, for reads, too: one way for all, that proxies
// and emulators know.
func newClient(ctx context.Context, o Options) (*gcs.Client, error) {
	opts := []option.ClientOption{gcs.WithJSONReads(), gcs.WithDisabledClientMetrics()}
	if o.HTTP != nil {
		opts = append(opts, option.WithHTTPClient(o.HTTP))
	}
	return gcs.NewClient(ctx, opts...)
}

package hive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lake/schemas"
)

// Probe opens a session and describes the target; it changes nothing. It tells
// what it found.
func Probe(ctx context.Context, cfg Config) (found string, err error) {
	w, err := Open(ctx, cfg, Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	d, err := w.table(ctx, w.s)
	if err != nil {
		return "", err
	}
	found = w.s.product
	if d == nil {
		found += "; table " + cfg.Table + " is not there yet: lake load makes it"
	} else {
		found += "; table " + cfg.Table + " lies at " + d.details["location"]
	}
	if w.s.dialect == schemas.Hive {
		zone, err := w.serverZone(ctx)
		switch {
		case err != nil:
			return "", err
		case zone == "": // it does not say
		case !strings.Contains(" UTC Etc/UTC GMT Z Etc/GMT UCT Universal Zulu ", " "+zone+" "):
			return "", fmt.Errorf("%s runs in zone %s, and shows instants (timestamp columns) in it: queries and lake audit would be off by it; hint: start it with -Duser.timezone=UTC", w.s.product, zone)
		}
	}
	return found, nil
}

// serverZone is the zone of the server's JVM; "" where it does not tell.
func (w *Warehouse) serverZone(ctx context.Context) (string, error) {
	rows, err := w.s.describe(ctx, "SET system:user.timezone")
	if err != nil {
		return "", fmt.Errorf("ask for the server's zone: %w", err)
	}
	for _, r := range rows {
		if key, zone, ok := strings.Cut(r[0].String, "="); ok && key == "system:user.timezone" {
			return strings.TrimSpace(zone), nil
		}
	}
	return "", nil
}

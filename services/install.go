package services

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// installLimit bounds the download of a server, retries included.
const installLimit = 8 * time.Minute

// cacheFolder is where downloaded servers are kept.
func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(base, "lake", "services"), nil
}

// install returns the folder of a server's files, <cache>/<name>, and has fetch
// fill it where it is not there yet. Processes that come at once wait for one
// of them; a folder of this name is always whole.
func install(ctx context.Context, cache, name string, o Options, fetch func(ctx context.Context, folder string) error) (string, error) {
	folder := filepath.Join(cache, name)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	unlock, err := lock(ctx, folder+".lock")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	defer unlock()
	if _, err := os.Stat(folder); err == nil { // another one was faster
		return folder, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	o.logf("fetching %s into %s", name, cache)
	// One name, so that what a killed process left is taken away.
	part := folder + ".part"
	for pause := 2 * time.Second; ; pause *= 3 {
		err = errors.Join(os.RemoveAll(part), os.Mkdir(part, 0o755))
		if err == nil {
			err = fetch(ctx, part)
		}
		if err == nil {
			break
		}
		var missing *missingTool
		if pause > 20*time.Second || ctx.Err() != nil || errors.As(err, &missing) {
			return "", errors.Join(fmt.Errorf("install %s: %w", name, err), os.RemoveAll(part))
		}
		o.logf("fetching %s: %v; once more in %s", name, err, pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if err := os.Rename(part, folder); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return folder, nil
}

// lock waits for a lock file and holds it until unlock.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // which unlocks it
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for %s, held by another process: %w", file, context.Cause(ctx)), f.Close())
		case <-tick.C:
		}
	}
}

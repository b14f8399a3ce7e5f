package table

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"lake/storage"
)

// CheckRemote tells whether a URI can be a table's location or a warehouse that
// is not on the local filesystem.
func CheckRemote(uri string) error {
	_, err := remoteFolder(uri)
	return err
}

// remoteFolder is a remote folder's URI without a slash at its end. Iceberg-go
// writes the locations of metadata URL-encoded, and stores take every URI as it
// is written: a folder is one that both write alike.
func remoteFolder(text string) (string, error) {
	scheme, rest, ok := strings.Cut(strings.TrimRight(text, "/"), "://")
	if !ok {
		return "", errors.New("write scheme://bucket/folder")
	}
	authority, folder, _ := strings.Cut(rest, "/")
	if folder == "" {
		return "", errors.New("name a folder in it: scheme://bucket/folder, since checkpoints and other tables lie beside it")
	}
	uri := strings.ToLower(scheme) + "://" + authority + "/" + folder
	if path.Clean("/"+folder) != "/"+folder {
		return "", fmt.Errorf("folder %s has an empty name, . or .. in it", folder)
	}
	parsed, err := url.Parse(uri)
	switch {
	case err != nil || parsed.String() != uri || parsed.EscapedPath() != parsed.Path || parsed.RawQuery != "" || parsed.Fragment != "":
		return "", errors.New("engines disagree on how to write some of its characters in a URI: choose a folder of letters, digits, - and _")
	case parsed.User != nil:
		return "", errors.New("it has a user or a password in it: credentials come from the environment")
	}
	return uri, nil
}

// folderOf is the absolute path of a path or file URI.
func folderOf(text string) (string, error) {
	path, err := storage.Local{}.Path(text)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", fmt.Errorf("path %q has a control character: choose another folder", path)
	}
	return filepath.Abs(path)
}

package s3

import (
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a request sends is not read any more once it is over: the next upload writes there.
func TestBody(t *testing.T) {
	b := newBody([]byte("0123456789"))
	part := make([]byte, 4)
	_, err := io.ReadFull(b, part)
	require.NoError(t, err)
	require.Equal(t, "0123", string(part))
	at, err := b.Seek(8, io.SeekStart)
	require.NoError(t, err)
	require.EqualValues(t, 8, at)
	rest, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, "89", string(rest))
	_, err = b.Seek(0, io.SeekStart)
	require.NoError(t, err)
	b.end()
	_, err = b.Read(part)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = b.Seek(0, io.SeekStart)
	require.ErrorIs(t, err, fs.ErrClosed)
}

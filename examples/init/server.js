// An HTTP server that leaves an orphan per request and ends on SIGTERM.
const { spawn } = require('child_process');
const http = require('http');

const server = http.createServer((request, response) => {
  spawn('sh', ['-c', 'sleep 0.1 & exit 0'], { stdio: 'ignore' })
    .on('close', (code) => response.end(`hello from process ${process.pid}, ${code}\n`));
});

process.on('SIGTERM', () => server.close(() => {
  console.log('closed');
  process.exit(3);
}));
server.listen(8080, () => console.log('serving'));

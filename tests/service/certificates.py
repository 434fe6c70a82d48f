# SPDX-License-Identifier: BSD-3-Clause
"""Certificates for NATS servers, made by openssl(1) for one run of the tests."""
import subprocess


class Certificates:
    """A CA, and what it has signed."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.ca = directory / "ca.pem"
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")

    @staticmethod
    def _new_key(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *arguments):
        result = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert result.returncode == 0, result.stderr

    def make(self, name, host="127.0.0.1", days=2):
        """The `tls` block of a nats-server with a certificate for that host."""
        if not (self.directory / f"{name}.pem").exists():
            kind = "IP" if host[0].isdigit() else "DNS"
            (self.directory / f"{name}.ext").write_text(f"subjectAltName={kind}:{host}\n")
            self._openssl("req", *self._new_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                          "-CAcreateserial", "-out", f"{name}.pem", "-days", str(days), "-extfile", f"{name}.ext")
        return (f'cert_file: "{self.directory}/{name}.pem", key_file: "{self.directory}/{name}.key"')

    @property
    def env(self):
        """Makes the CA one that the machine knows."""
        return {"SSL_CERT_FILE": str(self.ca)}

"""What an object store, or the way to it, says no with: one sentence each, which says what to do.

Whoever answers may say anything, so what is said here are our words: they are found by the code of an answer,
or by the class of an exception of botocore, or one that it is derived from.
"""

from __future__ import annotations

import errno

from fastindex.text import escape

__all__ = ['ARCHIVED', 'RefusedError']

ARCHIVED = 'InvalidObjectState'  # the code of an object in an archive, as Glacier

_CONFIG = 'look at ~/.aws/config, or the file that AWS_CONFIG_FILE names, and at variables with AWS_'

_SAID = {
    'NoSuchBucket': 'there is no such bucket here: is the name right, and the endpoint?',
    'NoCredentialsError': 'no credentials were found: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, '
    'or a profile (AWS_PROFILE), or `anonymous` for a public bucket',
    'PartialCredentialsError': 'the credentials are incomplete: expected AWS_ACCESS_KEY_ID and '
    'AWS_SECRET_ACCESS_KEY',
    'InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired '
    'ExpiredTokenException UnrecognizedClientException InvalidClientTokenId NotSignedUp': (
        'the credentials are refused ({code}): are they those of this endpoint?'
    ),
    'AccessDenied Forbidden 403 AllAccessDisabled': 'access is denied: may these credentials list and read '
    'it? `anonymous` sends none, and `requester_pays` says that you pay, which some buckets want',
    'SSOError LoginError TokenRetrievalError NoAuthTokenError': 'the single sign-on of this profile has '
    'expired: run aws sso login, or aws login, and this again',
    'CredentialRetrievalError MetadataRetrievalError UnknownCredentialError RefreshWithMFAUnsupportedError': (
        'the credentials could not be had from where the profile says, a program or a role: does '
        'aws sts get-caller-identity work?'
    ),
    'ProfileNotFound': 'there is no such profile: expected AWS_PROFILE to name one of ~/.aws/config',
    'ConfigParseError ConfigNotFound': f'a file of the configuration cannot be read: {_CONFIG}',
    'InvalidConfigError InvalidRetryConfigurationError InvalidS3AddressingStyleError BadValue '
    'InvalidProxiesConfigError InvalidDefaultsMode InvalidIMDSEndpointError InvalidIMDSEndpointModeError '
    'InvalidChecksumConfigError InvalidEndpointConfigurationError InvalidEndpointDiscoveryConfigurationError '
    'InvalidSTSRegionalEndpointsConfigError InvalidS3UsEast1RegionalEndpointConfigError '
    'UnsupportedS3ConfigurationError UnsupportedSignatureVersionError UnknownSignatureVersionError '
    'UnknownTokenProviderError ApiVersionNotFoundError DataNotFoundError': (
        f'a value of the configuration is none that is known: {_CONFIG}'
    ),
    'EndpointConnectionError ConnectionError': 'nobody answers at the endpoint: is its address right, the '
    'server running?',
    'ConnectTimeoutError': 'the endpoint did not answer in time: is its address right?',
    'ReadTimeoutError': 'the store did not answer in time, each time that it was asked',
    'HTTPClientError': 'the connection breaks off each time: is the port right, and TLS (https) as there?',
    'NoRegionError': 'no region is set: expected AWS_DEFAULT_REGION, or one in the profile',
    'PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed 301 307 IncorrectEndpoint '
    'IllegalLocationConstraintException AuthorizationQueryParametersError': (
        'the bucket is in another region than requests go to: expected AWS_DEFAULT_REGION to name it'
    ),
    'InvalidRegionError UnknownRegionError BaseEndpointResolverError EndpointProviderError': 'there is no '
    'such region, or no endpoint in it: expected AWS_DEFAULT_REGION to name one',
    'InvalidBucketName ParamValidationError InvalidDNSNameError InvalidHostLabelError UnsupportedS3ArnError '
    'UnsupportedS3AccesspointConfigurationError UnsupportedOutpostResourceError InvalidARN': (
        'the store, or its client, takes no such name of a bucket: is it complete?'
    ),
    'SSLError': 'the endpoint is not trusted, or speaks no TLS: expected AWS_CA_BUNDLE to name the file with '
    'the certificate that signed its own, or an endpoint with http:// where the store has no certificate',
    # What OpenSSL says of a certificate (x509_vfy.h); a self-signed one is 18
    'certificate-9': 'the certificate of the endpoint does not hold yet: is the clock of this machine right?',
    'certificate-10': 'the certificate of the endpoint has expired: its owner must renew it, if the clock of '
    'this machine is right',
    'certificate-62 certificate-64': 'the certificate of the endpoint is of another host: expected an '
    'endpoint with the name in it',
    'ProxyConnectionError': 'the proxy does not answer, or does not let us through: expected HTTPS_PROXY or '
    'HTTP_PROXY to name one that runs, with user and password if it wants them, or NO_PROXY to name the host '
    'of the store',
    'MissingDependencyException': 'the profile needs more than botocore: pip install "botocore[crt]"',
    'NotUtf8': 'the key is not UTF-8: nobody can ask for it',
    'RequestTimeTooSkewed RequestExpired': 'the clock of this machine is wrong by more than the store '
    'allows: set it',
    ARCHIVED: 'it is archived: restore it first',
    'BadAnswer': 'the answer is not what was asked for: is there a store that speaks as S3 does?',
    'ChecksumError FlexibleChecksumError IncompleteReadError BadDigest': 'what arrived is not what was sent: '
    'does a proxy, or the network, change it?',
    'XMinioStorageFull QuotaExceeded 507': 'the store has no room left for it: is a quota used up?',
    # What has no code that is known, by its status
    '401': 'the credentials are refused, or there are none: are they those of this endpoint?',
    '407': 'the proxy wants a user and a password: expected them in HTTPS_PROXY or HTTP_PROXY',
    '404': 'there is nothing of this name: are the bucket and the endpoint right?',
    '405 501': 'the endpoint does not do what was asked for: is there a store that speaks as S3 does?',
    '429 500 502 503 504': 'the store, or what stands before it, was busy or ill each time that it was '
    'asked: try again later',
}
"""For the codes in a key, with spaces between them, what is said."""

_EXPLAINED = {code: said.format(code=code) for codes, said in _SAID.items() for code in codes.split()}


class RefusedError(Exception):
    """A request failed, each time.

    Parameters
    ----------
    code
        What the store said, or the name of the exception.
    number
        What it is to who asked about a file: errno.
    others
        What else it may be explained by, the nearest first.
    """

    def __init__(self, code: str, number: int = errno.EIO, others: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.number = number
        known = next((_EXPLAINED[one] for one in (code, *others) if one in _EXPLAINED), '')
        self.said = known or f'it failed each time that it was asked for ({escape(code)[:100]})'

    @classmethod
    def of(cls, error: Exception) -> RefusedError:
        """Make it of an exception of botocore."""
        names = [kind.__name__ for kind in type(error).__mro__]
        inner = getattr(error, 'kwargs', {}).get('error')  # what the connection says
        while isinstance(inner, Exception):
            if type(inner).__name__ in ('SSLCertVerificationError', 'CertificateError'):
                names.insert(0, f'certificate-{getattr(inner, "verify_code", 62)}')  # urllib3 compares hosts
            inner = next(iter(inner.args), None)
        return cls(names[0], errno.EIO, tuple(names[1:]))

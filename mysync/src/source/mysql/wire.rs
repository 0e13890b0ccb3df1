//! The connection that carries the binlog stream: login and the few commands before the stream, then packets as they come.
//!
//! The client library makes all other connections. Its binlog stream is not used: it copies each event three times, and unpacks
//! a compressed transaction in memory as a whole (a transaction of 3 million rows takes half a gigabyte), without a word
//! where that fails. Its parts are used: the forms of the packets, passwords and keys.

use super::packets::Packets;
use mysql_async::{DriverError, Error, IoError, ServerError};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, ErrPacket, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;
use native_tls::TlsConnector;
use openssl::error::ErrorStack;
use openssl::rsa::{Padding, Rsa};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

type Result<T> = std::result::Result<T, Error>;

/// The largest packet that the server may send: the largest there is.
const PACKET_BYTES_MAX: u32 = 1 << 30;

const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const SWITCH: u8 = 0xfe;
const ERROR: u8 = 0xff;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// The end of columns or rows has fewer bytes behind its first.
const END_BYTES_MAX: usize = 8;

/// utf8mb4_general_ci, which all versions know.
const COLLATION: u8 = 45;

/// Who logs in where.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// Whether to encrypt, and what to verify.
    pub(super) tls: Option<TlsConnector>,
}

/// TCP, or TLS over it.
trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection that has logged in.
pub(super) struct Wire {
    packets: Packets<Box<dyn Transport>>,
    capabilities: CapabilityFlags,
    is_encrypted: bool,
}

impl Wire {
    pub(super) async fn connect(login: &Login<'_>) -> Result<Self> {
        let stream = TcpStream::connect((login.host, login.port)).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let mut wire = Self {
            packets: Packets::new(Box::new(stream)),
            capabilities: CapabilityFlags::empty(),
            is_encrypted: false,
        };
        let greeting = wire.receive().await?.to_vec();
        let greeting = ParseBuf(&greeting).parse::<HandshakePacket<'_>>(()).map_err(io)?;
        wire.capabilities = greeting.capabilities()
            & (CapabilityFlags::CLIENT_PROTOCOL_41
                | CapabilityFlags::CLIENT_LONG_PASSWORD
                | CapabilityFlags::CLIENT_TRANSACTIONS
                | CapabilityFlags::CLIENT_SECURE_CONNECTION
                | CapabilityFlags::CLIENT_PLUGIN_AUTH);
        if let Some(tls) = &login.tls {
            if !greeting.capabilities().contains(CapabilityFlags::CLIENT_SSL) {
                return Err(DriverError::NoClientSslFlagFromServer.into());
            }
            wire = wire.encrypt(login.host, tls).await?;
        }
        let plugin = match greeting.auth_plugin() {
            Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
            _ => AuthPlugin::MysqlNativePassword,
        };
        let nonce = greeting.nonce();
        let proof = plugin.gen_data(Some(login.password), &nonce);
        let response = HandshakeResponse::new(
            proof.as_deref(),
            greeting.server_version_parsed().unwrap_or_default(),
            Some(login.user.as_bytes()),
            None::<&[u8]>,
            Some(plugin.borrow()),
            wire.capabilities,
            None,
            PACKET_BYTES_MAX,
        );
        wire.send(&response).await?;
        wire.authenticate(login, nonce).await?;
        Ok(wire)
    }

    /// From here on the connection is encrypted, and the server verified, before it is told anything.
    async fn encrypt(mut self, host: &str, tls: &TlsConnector) -> Result<Self> {
        self.capabilities |= CapabilityFlags::CLIENT_SSL;
        let request = SslRequest::new(self.capabilities, PACKET_BYTES_MAX, COLLATION);
        self.send(&request).await?;
        let tls = tokio_native_tls::TlsConnector::from(tls.clone());
        let encrypting = self.packets.over(async |stream| {
            let encrypted = tls.connect(host, stream).await.map_err(IoError::from)?;
            Ok::<Box<dyn Transport>, IoError>(Box::new(encrypted))
        });
        Ok(Self {
            packets: encrypting.await?,
            is_encrypted: true,
            ..self
        })
    }

    /// Answers what the server asks until it says yes or no.
    async fn authenticate(&mut self, login: &Login<'_>, mut nonce: Vec<u8>) -> Result<()> {
        let mut is_switched = false;
        loop {
            let packet = self.receive().await?.to_vec();
            match packet[..] {
                [OK, ..] => return Ok(()),
                [SWITCH, _, ..] if !is_switched => {
                    is_switched = true;
                    let request = ParseBuf(&packet).parse::<AuthSwitchRequest<'_>>(()).map_err(io)?;
                    nonce = request.plugin_data().to_vec();
                    let plugin = request.auth_plugin();
                    if !matches!(
                        plugin,
                        AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword
                    ) {
                        let name = String::from_utf8_lossy(plugin.as_bytes()).into_owned();
                        return Err(DriverError::UnknownAuthPlugin { name }.into());
                    }
                    match plugin.gen_data(Some(login.password), &nonce) {
                        Some(proof) => self.send(&proof.into_owned()).await?,
                        None => self.packets.send(&[]).await.map_err(io)?,
                    }
                }
                // The server knows the password's hash already.
                [MORE, 3] => {}
                // It does not, and wants the password.
                [MORE, 4] => {
                    let mut password = [login.password.as_bytes(), &[0]].concat();
                    if !self.is_encrypted {
                        password = self.encrypt_password(password, &nonce).await?;
                    }
                    self.packets.send(&password).await.map_err(io)?;
                }
                _ => return Err(unexpected(&packet)),
            }
        }
    }

    /// Encrypts the password with the server's key.
    async fn encrypt_password(&mut self, mut password: Vec<u8>, nonce: &[u8]) -> Result<Vec<u8>> {
        self.packets.send(&[2]).await.map_err(io)?;
        let [MORE, key @ ..] = self.receive().await? else {
            return Err(unexpected(self.packet()));
        };
        for (byte, mask) in password.iter_mut().zip(nonce.iter().cycle()) {
            *byte ^= mask;
        }
        encrypt_with(key, &password).map_err(|_| unexpected(self.packet()))
    }

    /// Runs a statement that returns no rows.
    pub(super) async fn query(&mut self, statement: &str) -> Result<()> {
        self.packets
            .command(&[&[COM_QUERY], statement.as_bytes()].concat())
            .await
            .map_err(io)?;
        self.require_ok().await
    }

    /// Runs a statement that returns one short text.
    pub(super) async fn text(&mut self, statement: &str) -> Result<String> {
        self.packets
            .command(&[&[COM_QUERY], statement.as_bytes()].concat())
            .await
            .map_err(io)?;
        // The number of columns, the column, an end; the row; another end.
        for _ in 0..3 {
            self.receive().await?;
        }
        let text = match self.receive().await? {
            [length, text @ ..] if usize::from(*length) == text.len() => String::from_utf8_lossy(text).into_owned(),
            other => return Err(unexpected(other)),
        };
        self.receive().await?;
        Ok(text)
    }

    /// Runs a statement whose rows, if it returns any, are of no interest.
    pub(super) async fn run(&mut self, statement: &str) -> Result<()> {
        let command = [&[COM_QUERY], statement.as_bytes()].concat();
        self.packets.command(&command).await.map_err(io)?;
        if matches!(self.receive().await?, [OK, ..]) {
            return Ok(());
        }
        // The columns, an end, the rows, another end.
        for _ in 0..2 {
            while !matches!(self.receive().await?, [SWITCH, rest @ ..] if rest.len() < END_BYTES_MAX) {}
        }
        Ok(())
    }

    /// Prepares a statement without parameters that returns rows; gives its number.
    pub(super) async fn prepare(&mut self, statement: &str) -> Result<u32> {
        let command = [&[COM_STMT_PREPARE], statement.as_bytes()].concat();
        self.packets.command(&command).await.map_err(io)?;
        let (id, columns) = match self.receive().await? {
            [OK, a, b, c, d, low, high, 0, 0, ..] => {
                (u32::from_le_bytes([*a, *b, *c, *d]), u16::from_le_bytes([*low, *high]))
            }
            other => return Err(unexpected(other)),
        };
        // The columns and an end.
        for _ in 0..=columns {
            self.receive().await?;
        }
        Ok(id)
    }

    /// Has a prepared statement executed: its number of columns comes next, then these, an end, the rows, an end.
    pub(super) async fn execute(&mut self, id: u32) -> Result<()> {
        let mut command = vec![COM_STMT_EXECUTE];
        command.extend_from_slice(&id.to_le_bytes());
        // No cursor, once.
        command.extend_from_slice(&[0, 1, 0, 0, 0]);
        self.packets.command(&command).await.map_err(io)
    }

    /// Lets go of a prepared statement. The server does not answer.
    pub(super) async fn close(&mut self, id: u32) -> Result<()> {
        let mut command = vec![COM_STMT_CLOSE];
        command.extend_from_slice(&id.to_le_bytes());
        self.packets.command(&command).await.map_err(io)
    }

    /// The next packet of an answer.
    pub(super) async fn next(&mut self) -> Result<&[u8]> {
        self.receive().await
    }

    /// Sends a command that the server answers with OK.
    pub(super) async fn order(&mut self, command: &impl MySerialize) -> Result<()> {
        self.begin(command).await?;
        self.require_ok().await
    }

    /// Sends a command that the server answers with a stream of packets.
    pub(super) async fn begin(&mut self, command: &impl MySerialize) -> Result<()> {
        let mut bytes = Vec::new();
        command.serialize(&mut bytes);
        self.packets.command(&bytes).await.map_err(io)
    }

    async fn require_ok(&mut self) -> Result<()> {
        match self.receive().await? {
            [OK, ..] => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn send(&mut self, packet: &impl MySerialize) -> Result<()> {
        let mut bytes = Vec::new();
        packet.serialize(&mut bytes);
        self.packets.send(&bytes).await.map_err(io)
    }

    /// Waits for the next packet; one that says an error is one.
    async fn receive(&mut self) -> Result<&[u8]> {
        self.fill(|_| false).await?;
        Ok(self.packets.packet())
    }

    /// Waits for the next packet, or piece of one ([`Packets::fill`]). Dropping the future while it waits loses nothing.
    pub(super) async fn fill(&mut self, allows_pieces: impl Fn(&[u8]) -> bool) -> Result<()> {
        self.packets.fill(allows_pieces).await.map_err(io)?;
        match self.packets.packet() {
            [ERROR, ..] if !self.is_continued() => Err(self.refusal()),
            _ => Ok(()),
        }
    }

    /// What [`Wire::fill`] brought.
    pub(super) fn packet(&self) -> &[u8] {
        self.packets.packet()
    }

    /// Whether it goes on with the packet of which the last piece was one.
    pub(super) fn is_continued(&self) -> bool {
        self.packets.is_continued()
    }

    fn refusal(&self) -> Error {
        match ParseBuf(self.packets.packet()).parse::<ErrPacket<'_>>(self.capabilities) {
            Ok(ErrPacket::Error(error)) => Error::Server(ServerError {
                code: error.error_code(),
                message: error.message_str().into_owned(),
                state: error
                    .sql_state_ref()
                    .map_or_else(String::new, |state| state.as_str().into_owned()),
            }),
            _ => unexpected(self.packets.packet()),
        }
    }
}

fn encrypt_with(key: &[u8], bytes: &[u8]) -> std::result::Result<Vec<u8>, ErrorStack> {
    let key = Rsa::public_key_from_pem(key)?;
    let mut encrypted = vec![0; key.size() as usize];
    key.public_encrypt(bytes, &mut encrypted, Padding::PKCS1_OAEP)?;
    Ok(encrypted)
}

fn io(error: std::io::Error) -> Error {
    Error::Io(IoError::Io(error))
}

fn unexpected(packet: &[u8]) -> Error {
    DriverError::UnexpectedPacket {
        payload: packet.to_vec(),
    }
    .into()
}
